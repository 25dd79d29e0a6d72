// SPDX-License-Identifier: Apache-2.0

// What supervised programs are expected to do, by the precedent of oslo.service and Cotyledon, and where it is tested.
//
// | behaviour | test |
// |---|---|
// | all workers start, several services in one launcher | WorkerTests.start, RestartTests.services |
// | a worker ended by SIGTERM, SIGKILL or itself is replaced | WorkerTests.end |
// | a worker's own exit status is logged, and it is started anew | WorkerTests.end (exit(42)) |
// | SIGTERM to a worker stops its service before it is replaced | WorkerTests.graceful |
// | SIGHUP to a worker: same process, its service restarts or takes up settings | WorkerTests.hangUp, ReloadTests.mutateWorker |
// | the supervisor is killed: its status says so, workers stop, none is left | OrphanTests.graceful |
// | ... also one that hangs, refuses, was stopped, or has not started | OrphanTests |
// | SIGTERM: workers stop, status 0, none is left | ShutdownTests.graceful |
// | SIGTERM: a request under way is finished | ShutdownTests.graceful |
// | SIGTERM amid the start of ten workers ends cleanly | ShutdownTests.early, .anytime |
// | SIGTERM with a service that does not stop: over at the time-out, not before | ShutdownTests.timeout, .blocked |
// | a second SIGTERM, and SIGINT with a client connected: at once, status 1 | ShutdownTests.twice, .impatient, .interrupt |
// | SIGTERM although a service crashes over and over: status 0 | RestartTests.services |
// | a service whose start fails ends the launcher with status 1 | RestartTests.firstStart |
// | SIGHUP replaces every worker, no connection is refused | ReloadTests.roll |
// | two SIGHUPs in a row are survived, SIGTERM ends then | ReloadTests.twice |
// | SIGHUP re-reads the settings; what cannot be used changes nothing | ReloadTests.fileChanges, .limitsChange, .brokenFile |
// | method mutate: services are reset in place | ReloadTests.mutate |
// | SIGHUP in one process: the service is ready again, SIGTERM ends with 0 | LauncherTests.inProcess |
// | settings are logged; defaults, environment, arguments and file | MusterTests, ReloadTests.limitsChange |
// | the number of workers changes while it runs | ScalingTests |
// | free ports, IPv6, Unix sockets; an address that is taken is refused by name | ListeningTests |
// | orphans of a container are reaped, own children's statuses are kept | FirstProcessTests |
// | workers have what is theirs, their children have none of it | InheritanceTests |
//
// Beyond the precedent: HangTests, WarmSpareTests, BackendTests, HealthTests, ChurnTests, WorkerTests.totals and .damage.
