// Package system has the tests of the built binary as its users meet it: several agents on this machine that are killed,
// cut off from each other and fed with nonsense, real tasks, and the command line. It has tests only, with the build tag
// system; they need root on Linux.
//
// The tasks are the witnesses. Each one takes a lock in a folder that Proffer knows nothing of, so that a second one of the
// same index is seen by the kernel and not by what the region believes; see witness_test.go.
//
// The tests run in a child of the test process. Whatever they start, orphans of orphans included, belongs to the parent,
// which ends all of it when the child has ended, however it did; see main_test.go.
package system
