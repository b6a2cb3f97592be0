"""What is pruned and run: ONNX files, or whatever else can be pruned. One file each."""

from hwmodel.evaluation.subjects.subject import SettingGains, Subject

__all__ = ["SettingGains", "Subject"]
