"""What the memory makes of a layer: tiles in double-buffered SRAMs, DRAM traffic, waits and energy.

`nest` sees a layer as loops, `tiling` cuts it into tiles, whose boxes in DRAM are those of `tile_boxes`,
and `tile_search` finds the tiles that move fewest bytes. `transfers` lists what each tile moves, `channels`
prices that, `overlap` puts it beside the machine's work and chooses the tiles of fewest cycles, and `traffic`
is the whole: stored bits, buffers,
DRAM and clock in, the memory's part of a layer's result out.
"""
