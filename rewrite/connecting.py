"""The closed list of words that an edit may write without finding them anywhere: they connect and name nothing.

Negations are not among them: a word that turns the meaning round needs evidence like any other.
"""

from __future__ import annotations

CONNECTING = frozenset(
    """a about according across after against all along also am among an and any apart are as aside at be because been
    before being besides between both but by can compared could did do does doing done due during each either for from
    had has have he her hers him his how i if in instead into is it its many may me might more most much my of on
    one ones or other our over please rather regarding s shall she should so some such than that the their them then
    there these they this those through to too toward towards under until up upon us using versus via vs was we were
    what when where whether which while who whom whose why will with within would you your addition kind kinds type
    types""".split()  # noqa: SIM905 # a list of words reads better than a tuple of strings
)
"""English function words, folded."""

CONNECTING_ZH = frozenset(
    """的 地 得 了 着 过 在 于 是 为 为了 和 与 跟 同 及 以及 或 或者 并 并且 而 而且 但 但是 也 都 就 还 又 再 才
    只 被 把 将 让 使 给 对 对于 关于 有关 从 到 至 向 往 由 由于 因为 因 所以 如果 要是 的话 比 比起 按 按照
    根据 里 里面 里的 中 中的 内 上 下 之 之前 之后 之间 以 以前 以后 时 时候 期间 其 其中 其他 该 此 这 那 这个
    那个 这些 那些 哪 哪些 哪个 什么 怎么 怎样 怎么样 如何 为什么 多少 几 谁 吗 呢 吧 啊 呀 么 嘛 我 你 您 他 她
    它 我们 你们 他们 它们 自己 个 种 些 一个 一种 一些 一下 有 会 能 可以 可 要 想 去 来 说 看 用 做 请 请问 很
    更 最 所 等 方面 情况 相比 除此之外""".split()  # noqa: SIM905
)
"""Chinese function words."""
