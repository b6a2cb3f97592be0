"""What is pruned and run: ONNX files, or whatever else can be pruned. One file each."""

from hwmodel.evaluation.subjects.subject import ScoresOnly, SettingGains, Subject

__all__ = ["ScoresOnly", "SettingGains", "Subject"]
