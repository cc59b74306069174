//go:build !proffer_next

package state

// FeatureLevel is the newest level that this binary knows. A region runs at the level in Meta, which the leader raises
// once every server knows it; what a newer level adds to commands and their Apply is refused below it.
const FeatureLevel = 1
