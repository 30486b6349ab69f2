package collector

// Percent is percent, for its test.
var Percent = percent
