package session

import "golang.org/x/sys/unix"

const bootClockID = unix.CLOCK_MONOTONIC // counts while asleep on this system
