package drive

import "time"

// Load is what to send. The messages are sent in turn, over and over, unless
// Checks ends it.
type Load struct {
	Messages [][]byte      // encoded CheckRequests
	InFlight int           // at once; of a paced load: at most
	For      time.Duration // ends it
	Checks   int           // ends it too; 0: no bound
	Rate     float64       // starts per second; 0: the next one as soon as one is answered
	Want     Want          // of every answer
}

// Result is what became of a Load.
type Result struct {
	Checks    int
	Took      time.Duration
	Latencies []time.Duration // one of each check, in no order
}
