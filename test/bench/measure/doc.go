// Package measure reads what processes cost from the kernel's own accounting,
// and makes medians of it.
package measure
