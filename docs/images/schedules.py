"""Draws schedules.png beside this file: ``python docs/images/schedules.py``."""

from pathlib import Path

from mainspring.analysis import plot_schedule

WARM_UP = {"type": "LinearLR", "start_factor": 0.01, "end": 500, "by_epoch": False}
EPOCHS = {"convert_to_iter_based": True}
SCHEDULES = {
    "warm-up, then CosineAnnealingLR": [WARM_UP, {"type": "CosineAnnealingLR", "begin": 5, **EPOCHS}],
    "warm-up, then MultiStepLR": [WARM_UP, {"type": "MultiStepLR", "milestones": [30, 40], "gamma": 0.3}],
    "WSDLR": {"type": "WSDLR", "warmup": 5, "decay": 10, **EPOCHS},
    "OneCycleLR": {"type": "OneCycleLR", "eta_max": 0.1, **EPOCHS},
    "CosineRestartLR": {
        "type": "CosineRestartLR",
        "periods": [10, 15, 25],
        "restart_weights": [1, 0.7, 0.5],
        "eta_min": 0.002,
        **EPOCHS,
    },
    "PolyLR": {"type": "PolyLR", "power": 0.9},
}

if __name__ == "__main__":
    figure = plot_schedule(SCHEDULES, 0.1, max_epochs=50, epoch_length=100)
    figure.savefig(Path(__file__).with_name("schedules.png"), dpi=110)
