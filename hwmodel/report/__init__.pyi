from . import plot as plot
from .page import WrittenReport as WrittenReport
from .page import write_report as write_report
