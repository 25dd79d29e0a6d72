// SPDX-License-Identifier: Apache-2.0

/// Something that can be measured.
struct Benchmark {
    let name: String
    let summary: String
    let measure: (Effort) throws -> [Figure]

    /// In the order in which they run: those that look at memory before those that leave much of it behind.
    static var all: [Benchmark] {
        [
            Benchmark(
                name: "counter", summary: "a counter's increment against an atomic add", measure: counterUpdates),
            Benchmark(
                name: "histogram", summary: "a histogram's observation against an atomic add",
                measure: histogramUpdates),
            Benchmark(name: "jobs", summary: "100,000 jobs at once, and their memory", measure: manyJobs),
            Benchmark(
                name: "threads", summary: "2,000 jobs with threads of their own against bare threads",
                measure: manyThreads),
            Benchmark(name: "switch", summary: "jobs taking turns on the cooperative engine", measure: jobSwitches),
            Benchmark(name: "spawn", summary: "starting and ending a job that does nothing", measure: jobSpawns),
            Benchmark(name: "lateness", summary: "how late looping calls start", measure: lateness),
            Benchmark(name: "drift", summary: "how far looping calls get off their grid", measure: drift),
            Benchmark(name: "timers", summary: "10,000 looping calls of 1 s against a bare heap", measure: manyTimers),
            Benchmark(name: "render", summary: "rendering 10,000 series against copying them", measure: rendering),
            Benchmark(
                name: "scrape", summary: "requests of /metrics against a static body of the same size",
                measure: scraping),
            Benchmark(
                name: "supervision-restart",
                summary: "from a worker's death to its replacement's first line, against C",
                measure: restarts),
            Benchmark(
                name: "supervision-stop", summary: "ending a supervisor with four idle workers, against C",
                measure: stops),
            Benchmark(
                name: "supervision-idle", summary: "memory and processor time of idle workers and their supervisor",
                measure: idleWorkers),
            Benchmark(
                name: "supervision-scrape", summary: "four workers with 10,000 series each in one scrape",
                measure: workerScrapes),
        ]
    }
}
