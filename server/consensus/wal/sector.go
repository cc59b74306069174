package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A sector is the largest piece that a disk writes or does not write as a whole. Each has its own checksum, so that a
// sector that was never written can be told from one that was damaged later:
//
//	0    496 bytes of a frame
//	496  life: the number of the segment, uint64
//	504  frame: its number in the segment, uint32
//	508  CRC-32C of the above, mixed with where the sector lies
//
// All integers are little endian. A block is what the page cache writes at once; frames start at a block, so that no
// block that was synced is ever written again.
const (
	sectorSize = 512
	sectorRoom = sectorSize - 16
	blockSize  = 4096
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [sectorSize]byte
	order      = binary.LittleEndian
)

func sectorSum(sector []byte, off int64) uint32 {
	return crc32.Checksum(sector[:sectorSize-4], castagnoli) ^ uint32(off/sectorSize+1)*0x9E3779B1
}

// sealSector fills in the last 16 bytes of a sector that will lie at off.
func sealSector(sector []byte, life uint64, frame uint32, off int64) {
	order.PutUint64(sector[sectorRoom:], life)
	order.PutUint32(sector[sectorRoom+8:], frame)
	order.PutUint32(sector[sectorRoom+12:], sectorSum(sector, off))
}

type sectorState int

const (
	blank   sectorState = iota // not written in this life of the file
	current                    // written in this life, and whole
	damaged                    // neither: these bytes were never written by us
)

// readSector tells what a sector at off of a segment holds, and which frame it belongs to if it is current.
func readSector(sector []byte, life uint64, off int64) (sectorState, uint32) {
	if bytes.Equal(sector, zeros[:]) {
		return blank, 0
	}
	was := order.Uint64(sector[sectorRoom:])
	switch {
	case order.Uint32(sector[sectorRoom+12:]) != sectorSum(sector, off), was == 0, was > life:
		return damaged, 0
	case was < life:
		return blank, 0
	}
	return current, order.Uint32(sector[sectorRoom+8:])
}

// sectors is how many sectors n bytes of a frame take.
func sectors(n int) int { return (n + sectorRoom - 1) / sectorRoom }

// blocks rounds a number of sectors up to whole blocks and gives their size in bytes.
func blocks(sectors int) int64 {
	const perBlock = blockSize / sectorSize
	return int64((sectors+perBlock-1)/perBlock) * blockSize
}

// spread cuts the bytes of a frame into sealed sectors behind dst, which lies at off, and pads to a whole block.
func spread(dst, logical []byte, life uint64, frame uint32, off int64) []byte {
	size := int(blocks(sectors(len(logical))))
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	dst = dst[:start+size]
	rest := dst[start:]
	for len(logical) > 0 {
		n := copy(rest[:sectorRoom], logical)
		clear(rest[n:sectorRoom])
		sealSector(rest[:sectorSize], life, frame, off)
		logical, rest, off = logical[n:], rest[sectorSize:], off+sectorSize
	}
	clear(rest)
	return dst
}
