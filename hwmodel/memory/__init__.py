"""What the memory makes of a layer: tiles in double-buffered SRAMs, DRAM traffic, waits and energy.

`nest` sees a layer as loops, `tiling` finds the tiles that move fewest bytes, `schedule` overlaps their
transfers with the machine's work, and `applying` adds all that to a result, the same way for every machine.
"""
