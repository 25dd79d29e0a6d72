// SPDX-License-Identifier: Apache-2.0

// What muster-bench measures Muster's looping calls and jobs against, in Go with nothing but its standard library.
//
//	muster-bench-go loops COUNT INTERVAL SETTLING WINDOW
//
// runs COUNT tickers, each in a goroutine of its own that notes the instant, and writes what a window of time has
// cost: processor time, its length, calls. All times are in nanoseconds.
//
//	muster-bench-go goroutines COUNT ROUNDS
//
// writes the median time of a goroutine that does nothing, from its start to the end of all COUNT of a round.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func number(index int) int64 {
	value, err := strconv.ParseInt(os.Args[index], 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

func processorTime() int64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func loops(count int, interval, settling, window time.Duration) {
	var calls int64
	instants := make([]time.Time, count)
	for i := range instants {
		go func(slot *time.Time) {
			for instant := range time.NewTicker(interval).C {
				*slot = instant
				atomic.AddInt64(&calls, 1)
			}
		}(&instants[i])
	}
	time.Sleep(settling)
	start, before, used := time.Now(), atomic.LoadInt64(&calls), processorTime()
	time.Sleep(window)
	fmt.Println(processorTime()-used, time.Since(start).Nanoseconds(), atomic.LoadInt64(&calls)-before)
}

func goroutines(count, rounds int) {
	times := make([]int, rounds)
	for round := range times {
		var group sync.WaitGroup
		start := time.Now()
		for i := 0; i < count; i++ {
			group.Add(1)
			go group.Done()
		}
		group.Wait()
		times[round] = int(time.Since(start).Nanoseconds())
	}
	sort.Ints(times)
	fmt.Println(float64(times[rounds/2]) / float64(count))
}

func main() {
	switch {
	case len(os.Args) == 6 && os.Args[1] == "loops":
		loops(int(number(2)), time.Duration(number(3)), time.Duration(number(4)), time.Duration(number(5)))
	case len(os.Args) == 4 && os.Args[1] == "goroutines":
		goroutines(int(number(2)), int(number(3)))
	default:
		fmt.Fprintln(os.Stderr, "usage: muster-bench-go loops COUNT INTERVAL SETTLING WINDOW | goroutines COUNT ROUNDS")
		os.Exit(2)
	}
}
