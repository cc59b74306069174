package wal

// Inline makes the log prepare segments without a goroutine, so that a run can be repeated call by call.
func (o Options) Inline() Options {
	o.inline = true
	return o
}

// Reseal makes the checksums of a segment fit again, so that damage reaches the code behind them.
func Reseal(name string, b []byte) {
	life, ok := segmentLife(name)
	for off := 0; ok && off+sectorSize <= len(b); off += sectorSize {
		if sector := b[off : off+sectorSize]; string(sector) != string(zeros[:]) {
			sealSector(sector, life, order.Uint32(sector[sectorRoom+8:]), int64(off))
		}
	}
	for slot := 0; !ok && (slot+1)*blockSize <= len(b); slot++ {
		block := b[slot*blockSize : (slot+1)*blockSize]
		order.PutUint32(block[blockSize-4:], stableSum(block, slot))
	}
}
