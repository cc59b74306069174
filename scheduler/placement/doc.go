// Package placement says on which nodes an allocation fits, which of them is best, and why it fits nowhere.
//
// There is one decision, Fits. Best is its linear use over all nodes and the definition of a good placement; Index
// answers the same from heaps, at a cost proportional to what changed. Compile turns a job's group into an Ask once;
// everything here is pure and nothing is safe for concurrent use while it is being changed.
package placement
