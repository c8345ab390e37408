//===-- WorkQueue.swift - work for several threads, handed over in order --------------------------===//
// One thread finds work, others do it. The finder waits while much is waiting to be done, so that memory
// stays bounded; a worker may add parts of what it does, and never waits for room.
//
// Invariant: `next` returns nil only when nothing is waiting or being done, or after `stop`.
// Locks: one mutex for all of it; the two conditions wake the finder and the workers.

import Glibc

@safe
final class WorkQueue<Item: Sendable>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let hasWork = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let hasRoom = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let limit: Int
    /// Items from `first` on wait.
    private var items: [Item?] = []
    private var first = 0
    /// Parts of what is being done; they come first.
    private var parts: [Item] = []
    private var busy = 0
    private var isClosed = false
    private var isStopped = false
    private var error: (any Error)?

    init(limit: Int) {
        self.limit = limit
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(hasWork, nil)
        unsafe pthread_cond_init(hasRoom, nil)
    }

    deinit {
        unsafe pthread_cond_destroy(hasRoom)
        unsafe pthread_cond_destroy(hasWork)
        unsafe pthread_mutex_destroy(mutex)
        unsafe hasRoom.deallocate()
        unsafe hasWork.deallocate()
        unsafe mutex.deallocate()
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return body()
    }

    /// Adds work, and waits for room first; false: the work was stopped.
    func add(_ item: Item) -> Bool {
        locked {
            while items.count - first >= limit, !isStopped {
                unsafe pthread_cond_wait(hasRoom, mutex)
            }
            guard !isStopped else { return false }
            items.append(item)
            unsafe pthread_cond_signal(hasWork)
            return true
        }
    }

    /// Adds parts of what the calling worker is doing, to be done before anything else.
    func addParts(_ more: [Item]) {
        locked {
            parts.append(contentsOf: more.reversed())
            unsafe pthread_cond_broadcast(hasWork)
        }
    }

    /// Nothing is added any more, but parts.
    func close() {
        locked {
            isClosed = true
            unsafe pthread_cond_broadcast(hasWork)
        }
    }

    /// What waits is not done any more; the first error is kept.
    func stop(_ error: any Error) {
        locked {
            isStopped = true
            if self.error == nil { self.error = error }
            unsafe pthread_cond_broadcast(hasWork)
            unsafe pthread_cond_broadcast(hasRoom)
        }
    }

    /// What it was stopped by.
    var failure: (any Error)? { locked { error } }

    /// Does work until there is no more.
    func work(_ body: (Item) -> Void) {
        while let item = next() {
            body(item)
            locked {
                busy -= 1
                if isClosed, busy == 0 { unsafe pthread_cond_broadcast(hasWork) }
            }
        }
    }

    private func next() -> Item? {
        locked {
            while !isStopped {
                if let item = parts.popLast() ?? takeFirst() {
                    busy += 1
                    return item
                }
                if isClosed, busy == 0 { return nil }
                unsafe pthread_cond_wait(hasWork, mutex)
            }
            return nil
        }
    }

    private func takeFirst() -> Item? {
        guard first < items.count else { return nil }
        let item = items[first]
        items[first] = nil
        first += 1
        if first == items.count || first >= limit {
            items.removeFirst(first)
            first = 0
        }
        unsafe pthread_cond_signal(hasRoom)
        return item
    }
}
