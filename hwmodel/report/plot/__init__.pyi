from .cycles_figure import cycles_by_layer as cycles_by_layer
