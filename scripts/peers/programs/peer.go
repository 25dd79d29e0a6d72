// SPDX-License-Identifier: Apache-2.0

// Go alone, and client_golang: the contract is in ../bench.
package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func setting(name string) int {
	value, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		fmt.Fprintln(os.Stderr, name, "is not set: this program is run by scripts/peers/bench")
		os.Exit(2)
	}
	return value
}

func monotonic() int64 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

func withLog(write func(*bufio.Writer)) {
	file, err := os.OpenFile(os.Getenv("PEER_LOG"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		os.Exit(2)
	}
	buffered := bufio.NewWriter(file)
	write(buffered)
	buffered.Flush()
	file.Close()
}

func loops(body func(interval time.Duration, call func())) {
	interval, length := time.Duration(setting("PEER_INTERVAL")), time.Duration(setting("PEER_SECONDS"))*time.Second
	instants := make([][]int64, setting("PEER_LOOPS"))
	var lock sync.Mutex
	for i := range instants {
		i := i
		instants[i] = make([]int64, 0, int(length/interval)+16)
		go body(interval, func() {
			now := monotonic()
			lock.Lock()
			instants[i] = append(instants[i], now)
			lock.Unlock()
		})
	}
	time.Sleep(length)
	lock.Lock()
	withLog(func(log *bufio.Writer) {
		for i := range instants {
			for _, instant := range instants[i] {
				fmt.Fprintln(log, i, instant)
			}
		}
	})
}

func ticker(interval time.Duration, call func()) {
	ticker := time.NewTicker(interval)
	call()
	for range ticker.C {
		call()
	}
}

// Sleeps until the next point of its grid.
func sleep(interval time.Duration, call func()) {
	due := time.Now()
	for {
		call()
		due = due.Add(interval)
		time.Sleep(time.Until(due))
	}
}

func jobs() {
	count := setting("PEER_JOBS")
	for round := 0; round < 5; round++ {
		var group sync.WaitGroup
		start := monotonic()
		for i := 0; i < count; i++ {
			group.Add(1)
			go group.Done()
		}
		group.Wait()
		elapsed := monotonic() - start
		withLog(func(log *bufio.Writer) { fmt.Fprintln(log, elapsed/int64(count)) })
	}
}

func series() {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(
		prometheus.CounterOpts{Name: "requests_total", Help: "Requests handled."}, []string{"worker", "path"})
	registry.MustRegister(requests)
	for i := 0; i < setting("PEER_SERIES"); i++ {
		requests.WithLabelValues(strconv.Itoa(i%4), fmt.Sprintf("/api/v1/resource/%d", i)).Add(float64(i))
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Getenv("PEER_PORT"), nil))
	os.Exit(1)
}

func main() {
	switch os.Getenv("PEER_TASK") {
	case "loops":
		if os.Getenv("PEER_KIND") == "ticker" {
			loops(ticker)
		} else {
			loops(sleep)
		}
	case "jobs":
		jobs()
	default:
		series()
	}
}
