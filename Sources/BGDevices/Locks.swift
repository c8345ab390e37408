//===-- Locks.swift - the shim's mutexes for the layers above ---------------------------------===//
// Every lock has a class; CShim/include/bgs_lock.h states their order, and debug builds stop at the
// first violation. These classes serve the layers that write: trees, commits, chunks.

internal import CShim

/// A mutex with its place in the order of locks.
@safe
package final class Mutex: @unchecked Sendable {
    /// Ascending: a thread takes a lock only above those it holds.
    package enum Class {
        case file, commit, tree, chunks, sums

        fileprivate var order: bgs_lock_class {
            switch self {
            case .file: BGS_MUTEX_FILE
            case .commit: BGS_MUTEX_COMMIT
            case .tree: BGS_MUTEX_TREE
            case .chunks: BGS_MUTEX_CHUNKS
            case .sums: BGS_MUTEX_SUMS
            }
        }
    }

    private let mutex: UnsafeMutablePointer<bgs_mutex>

    package init(_ lockClass: Class) {
        unsafe mutex = .allocate(capacity: 1)
        let failed = unsafe bgs_mutex_init(mutex, lockClass.order)
        precondition(failed == 0, "a plain mutex needs no resource that can run out")
    }

    deinit {
        unsafe bgs_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    package func lock() { unsafe bgs_mutex_lock(mutex) }
    package func unlock() { unsafe bgs_mutex_unlock(mutex) }

    /// Calls `body` with the lock held.
    package func withLock<Result, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        lock()
        defer { unlock() }
        return try body()
    }
}

/// Many readers or one writer. A reader must not take it again.
@safe
package final class ReadWriteLock: @unchecked Sendable {
    package enum Class {
        case roots, map

        fileprivate var order: bgs_lock_class {
            switch self {
            case .roots: BGS_RWLOCK_ROOTS
            case .map: BGS_RWLOCK_MAP
            }
        }
    }

    private let rwlock: UnsafeMutablePointer<bgs_rwlock>

    package init(_ lockClass: Class) {
        unsafe rwlock = .allocate(capacity: 1)
        let failed = unsafe bgs_rwlock_init(rwlock, lockClass.order)
        precondition(failed == 0, "a plain lock needs no resource that can run out")
    }

    deinit {
        unsafe bgs_rwlock_destroy(rwlock)
        unsafe rwlock.deallocate()
    }

    /// Calls `body` while nobody writes.
    package func withReadLock<Result, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        unsafe bgs_rwlock_read_lock(rwlock)
        defer { unsafe bgs_rwlock_unlock(rwlock) }
        return try body()
    }

    /// Calls `body` while nobody else reads or writes.
    package func withWriteLock<Result, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        unsafe bgs_rwlock_write_lock(rwlock)
        defer { unsafe bgs_rwlock_unlock(rwlock) }
        return try body()
    }
}
