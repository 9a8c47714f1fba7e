"""What notebooks 4 to 6 say that holds on any machine, however busy: run after their last cell, with their names."""

CLAIMS = {
    "04": """
for reply in [*replies.good, *answer.replies.good]:
    assert 0 < reply.ttft <= reply.elapsed
assert answer.aggregator.started >= max(reply.ended for reply in answer.layers[0])
assert seen["ProposerDelta"] < streamed.layers[0].slowest.elapsed < seen["AggregatorDelta"] < seen["MixtureDone"]
assert rows["three at once"]["seconds"] < sum(reply.elapsed for reply in replies)
assert rows["mixture"]["first word"] > max(reply.elapsed for reply in answer.layers[0])
""",
    "05": """
assert (two_there <= waits["quorum, 1 s of grace"]).all() and (waits["quorum, 1 s of grace"] <= slowest).all()
assert (with_second(first) == slowest).all(), "as slow again: as if there were no second request"
ends = {case: found[case].loc[0] for case in found}
assert ends["silent, timeout=1"].outcome == "timeout"
assert list(ends["silent, deadline=1.8"])[:2] == ["deadline", 1]
assert list(ends["asks for 3.0 s, deadline=2.5"])[:2] == ["rate_limit", 1]
assert not same.ok
assert rescued[-1].by_hedge and rescued[-1].written_by == second
""",
    "06": """
assert "Call.run" not in repr(asyncio.all_tasks()), "a call goes on"
assert len(kinds) == 23
""",
}
