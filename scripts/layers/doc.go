// Package layers holds the rules about the source itself that a machine can check: which package may import which, that
// decisions are pure, that every package says what it is, and how tests may wait. It has tests only.
package layers
