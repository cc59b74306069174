// Command bench measures what the project promises, on the real program, and prints the figures beside what must be
// reached, with the machine they were measured on. It starts agents of its own on loopback addresses and ends them.
//
// A figure that misses its must is printed as such and is no failure of the command: the machine may be busy, and the
// table says how busy. The command fails when something could not be measured.
package main
