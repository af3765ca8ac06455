"""The service: one pipeline behind REST, the SDK, the command line and the evaluation."""
