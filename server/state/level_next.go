//go:build proffer_next

package state

// FeatureLevel of the release after this one: the test of a rolling upgrade builds it beside the present one.
const FeatureLevel = 2
