"""Published figures, for comparison with ours; never an input of any model."""

from hwmodel.studies.published.averages import MEASURES, Average, Beside, averages, beside_averages
from hwmodel.studies.published.one_pe import Comparison, one_pe
from hwmodel.studies.published.printed_numbers import Printed, printed, printed_value

__all__ = [
    "MEASURES",
    "Average",
    "Beside",
    "Comparison",
    "Printed",
    "averages",
    "beside_averages",
    "one_pe",
    "printed",
    "printed_value",
]
