// SPDX-License-Identifier: Apache-2.0

import Testing

@Suite("The page of upstream's names", .timeLimit(.minutes(5)))
struct MigrationPageTests {
    private static let path = "docs/migrating-from-oslo-service.md"

    /// What is public in oslo.service 4.x, by module, with the options that it registers.
    private static let upstream: [String: String] = [
        "backend": """
        BackendType EVENTLET THREADING DEFAULT_BACKEND_TYPE init_backend get_backend get_backend_type get_component
        get_service_components register_backend_default_hook _reset_backend BaseBackend ServiceBase
        ComponentRegistry BackendAlreadySelected BackendComponentNotAvailable UnsupportedBackendError
        """,
        "service": """
        Service Services Launcher ServiceLauncher ProcessLauncher ServiceWrapper SignalHandler SignalExit Singleton
        launch launch_service add start stop wait restart reset tg workers restart_method no_fork wait_interval
        start_method check_service_base is_daemon _is_daemon _is_sighup_and_daemon add_handler add_handlers clear
        is_signal_supported ignore_handler handle_signal signals_to_name graceful_shutdown_timeout log_options
        """,
        "threadgroup": """
        ThreadGroup Thread thread_pool_size max_threads add_thread add_timer add_timer_args add_dynamic_timer
        add_dynamic_timer_args timer_done stop_timers waitall cancel threads timers link ident
        """,
        "loopingcall": """
        LoopingCallBase LoopingCallDone LoopingCallTimeOut FixedIntervalLoopingCall
        FixedIntervalWithTimeoutLoopingCall DynamicLoopingCall BackOffLoopingCall RetryDecorator interval
        initial_delay stop_on_exception timeout periodic_interval_max starting_interval max_interval jitter
        min_interval max_retry_count inc_sleep_time max_sleep_time exceptions
        """,
        "periodic_task": """
        periodic_task PeriodicTasks add_periodic_task run_periodic_tasks run_periodic_tasks_in_parallel spacing
        run_immediately external_process_ok enabled raise_on_error InvalidPeriodicTaskArg DEFAULT_INTERVAL
        run_external_periodic_tasks PeriodicWorker periodic NeverAgain last_started last_finished
        aligned_last_finished on_failure Watcher ExistingExecutor executor_factory
        """,
        "systemd": "notify notify_once onready",
        "opts": "register_service_opts set_service_opts_defaults register_opts list_opts",
        "wsgi": """
        Server Router Request Loader InvalidInput ConfigNotFound PasteAppNotFound api_paste_config wsgi_log_format
        tcp_keepidle wsgi_default_pool_size max_header_line wsgi_keep_alive client_socket_timeout
        wsgi_server_debug
        """,
        "eventlet_backdoor": """
        eventlet_backdoor initialize_if_enabled EventletBackdoorConfigValueError backdoor_port backdoor_socket
        """,
        "sslutils": "is_enabled wrap ca_file cert_file key_file version ciphers",
        "others": "SleepFixture get_spawn_context get_spawn_pool",
    ]

    /// The cells of one side of the tables whose first column is upstream's.
    private func codes(inColumn column: Int) throws -> [(code: String, row: String)] {
        try Repository.page(Self.path).rows.filter { $0.count == 2 }.flatMap { cells in
            cells[column].matches(of: /`([^`]+)`/).map { (String($0.1), cells.joined(separator: " | ")) }
        }
    }

    @Test("maps each public name of upstream's")
    func names() throws {
        var mapped: Set<Substring> = []
        for (code, _) in try codes(inColumn: 0) {
            mapped.formUnion(code.split { !$0.isLetter && $0 != "_" })
        }
        for (module, names) in Self.upstream {
            for name in names.split(whereSeparator: \.isWhitespace) {
                #expect(mapped.contains(name), "\(module): \(name)")
            }
        }
    }

    @Test("names nothing that Muster does not have")
    func symbols() throws {
        let sources = try PublicNames()
        #expect(sources.declared.count > 500)
        var count = 0
        for (code, row) in try codes(inColumn: 1) where code.contains(/^[.A-Za-z]/) && !code.contains(/muster[._]/) {
            for name in code.matches(of: /[A-Za-z][A-Za-z0-9]+/) {
                count += 1
                let isKnown = sources.contains(String(name.0))
                #expect(isKnown, "\(name.0), in: \(row)")
            }
        }
        #expect(count > 100)
    }
}
