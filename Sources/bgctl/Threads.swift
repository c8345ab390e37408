//===-- Threads.swift - threads of the system's ---------------------------------------------------===//

import Glibc
import Synchronization

/// A flag between two threads.
final class StopSign: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

/// A thread of the system's. Joined exactly once.
struct Thread {
    private final class Body: Sendable {
        let work: @Sendable () -> Void
        init(_ work: @escaping @Sendable () -> Void) { self.work = work }
    }

    private let handle: pthread_t

    /// Starts `work`; nil where the system has no thread left.
    init?(_ work: @escaping @Sendable () -> Void) {
        var handle = pthread_t()
        let body = unsafe Unmanaged.passRetained(Body(work))
        let failed = unsafe pthread_create(
            &handle,
            nil,
            { argument in
                unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().work()
                return nil
            },
            body.toOpaque()
        )
        guard failed == 0 else {
            unsafe body.release()
            return nil
        }
        self.handle = handle
    }

    func join() { pthread_join(handle, nil) }
}
