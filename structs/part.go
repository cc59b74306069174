package structs

import "math/bits"

// PartOf returns share of amount, in whole units of amount, rounded down. Share is from 0 to 1 (1000); amount is not negative.
func PartOf(amount int64, share Milli) int64 {
	if amount <= 0 || share <= 0 {
		return 0
	}
	high, low := bits.Mul64(uint64(amount), uint64(min(share, 1000)))
	part, _ := bits.Div64(high, low, 1000)
	return int64(part)
}
