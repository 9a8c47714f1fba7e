"""inspect_ai reads the log of a comparison, which ``run.py`` has written: whole, sample by sample, and as tables."""

from asked import SKY, tell
from inspect_ai.analysis import samples_df
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample, read_eval_log_sample_summaries

(found,) = (each.name for each in list_eval_logs("logs"))
log = read_eval_log(found)
assert (log.status, log.eval.model, log.eval.dataset.name) == ("success", "single, moa", "comparison.sqlite"), log.eval
judge, points = log.results.scores
assert judge.name.startswith("judge "), judge
assert list(judge.metrics) == ["moa"], judge
assert {name: metric.group for name, metric in points.metrics.items()} == {"single": "mean", "moa": "mean"}, points
listed = read_eval_log_sample_summaries(found)
assert sorted(each.id for each in listed) == [each.id for each in log.samples] == sorted(log.eval.dataset.sample_ids)
for sample in log.samples:
    alone = read_eval_log_sample(found, sample.id)
    assert alone.output.completion == sample.output.completion == sample.messages[-1].text
    assert sample.metadata["cost_usd"] > 0
table = samples_df(found, quiet=True)
assert set(table.metadata_strategy) == {"single", "moa"}
assert table["score_points share"].between(0, 1).all()
for sample in log.samples:
    if sample.input == SKY and sample.metadata["strategy"] == "moa":
        tell(f"a log of {len(listed)} answers", sample.output.completion)
plain = {each.id: each for each in read_eval_log("logs/comparison.json").samples}
assert all((plain[each.id].output, plain[each.id].scores) == (each.output, each.scores) for each in log.samples)
