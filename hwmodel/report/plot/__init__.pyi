from .bit_rows_figure import bit_rows as bit_rows
from .cycles_figure import cycles_by_layer as cycles_by_layer
from .kept_ones_figure import kept_ones as kept_ones
from .kept_rows_figure import kept_rows as kept_rows
from .row_errors_figure import row_errors as row_errors
