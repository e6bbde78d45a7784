"""What a finished training tells."""

from keras_nest.training.experiment import Experiment


def test_result_in_words():
    metrics = {"top1": 0.99444, "top5": 1.0, "loss": 0.0166, "examples": 1360, "parameters": 881210}
    metrics |= {"train_seconds": 59.6, "steps": 1450, "eval_images_per_second": 2345.6}
    assert Experiment.report(None, metrics) == {
        "top-1 accuracy": "99.44% of 1,360 images",
        "top-5 accuracy": "100.00%",
        "test loss": "0.0166",
        "evaluation": "2,346 images/s",
        "parameters": 881210,
        "training time": "60 s for 1,450 steps",
    }
    assert "training time" not in Experiment.report(None, {**metrics, "steps": 0})


def test_other_tasks_in_words():
    metrics = {"loss": 0.1, "examples": 1360, "parameters": 5, "eval_images_per_second": 1.0, "steps": 0}
    metrics["train_seconds"] = 0.0
    several = Experiment.report(None, {**metrics, "accuracy": 0.9, "map": 0.8})
    assert (several["classes right"], several["mean average precision"]) == ("90.00%, 1,360 images", "80.00%")
    numbers = Experiment.report(None, {**metrics, "mae": 12.34567, "r2": 0.5})
    assert (numbers["mean error"], numbers["R²"]) == ("12.35, 1,360 images", "0.5000")
