from .chart import Chart as Chart
from .chart import ChartAxis as ChartAxis
from .chart import ChartMark as ChartMark
from .drawing import draw as draw
from .drawing import new_axes as new_axes
from .drawing import save as save
