// Threads that change, read and commit at once. Each has keys of its own; at the end, and after the last
// commit, everything is there. Made for the thread sanitizer.
//
// BG_TEST_SCALE=n plays n times as many steps.

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BGTrees

/// Runs `body` on this many threads, and waits for all.
private func together(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let done = DispatchGroup()
    for index in 0..<count {
        done.enter()
        Thread.detachNewThread {
            body(index)
            done.leave()
        }
    }
    done.wait()
}

private final class Failures: @unchecked Sendable {
    private let lock = NSLock()
    private var found: [FilesystemError] = []

    func add(_ error: FilesystemError) { lock.withLock { found.append(error) } }
    var all: [FilesystemError] { lock.withLock { found } }
}

/// What the threads of a test share.
private final class Shared: @unchecked Sendable {
    let store: TreeStore
    let host: MemoryHost
    let failures = Failures()

    init(_ fixture: Fixture) {
        store = fixture.store
        host = fixture.host
    }

    /// Records an extent in an inode of the thread's own.
    func write(_ thread: Int, _ number: Int) throws(FilesystemError) -> (Key, ModelPart) {
        let key = Key(300 + UInt64(thread), .extentData, UInt64(number) << 20)
        let part = ModelPart(extent: try host.claimData(4096), length: 4096)
        try store.change { transaction throws(FilesystemError) in
            try transaction.recordExtent(Fixture.reference(key, part, tree: Fixture.tree))
            try transaction.tree(Fixture.tree).insert(key, Fixture.fileExtent(part))
            try transaction.setChecksums(logical: part.extent, [1, 2, 3, UInt8(thread)])
        }
        return (key, part)
    }

    func remove(_ key: Key, _ part: ModelPart) throws(FilesystemError) {
        try store.change { transaction throws(FilesystemError) in
            try transaction.dropReference(Fixture.reference(key, part, tree: Fixture.tree))
            try transaction.tree(Fixture.tree).remove(key)
        }
    }

    func play(_ thread: Int, _ steps: Int) throws(FilesystemError) {
        var mine: [(Key, ModelPart)] = []
        for number in 0..<steps {
            mine.append(try write(thread, number))
            if number % 3 == 2 {
                let (key, part) = mine.remove(at: mine.count / 2)
                try remove(key, part)
            }
            if number % (7 + thread) == 0 { try store.commit() }
            let (key, part) = mine[number % mine.count]
            let found = try store.read { transaction throws(FilesystemError) in
                try transaction.tree(Fixture.tree).item(key)
            }
            if found != Fixture.fileExtent(part) {
                throw FilesystemError(
                    .notFound,
                    "test",
                    "lost item % of %",
                    key.offset,
                    key.objectid
                )
            }
        }
        try store.commit()
    }
}

@Suite struct TransactionThreadTests {
    @Test func threadsChangeWhileOthersCommit() throws {
        let fixture = try Fixture(metadataBytes: 64 << 20, dataBytes: 32 << 20)
        try fixture.store.commit()
        let shared = Shared(fixture)
        let threads = 4
        let steps = 120 * testScale
        together(threads) { thread in
            do throws(FilesystemError) {
                try shared.play(thread, steps)
            } catch {
                shared.failures.add(error)
            }
        }
        for failure in shared.failures.all { Issue.record("\(failure.message)") }
        let facts = try FileSystemFacts(fixture.host.disk)
        facts.check()
        let kept = steps - steps / 3
        #expect(facts.checksums.count == threads * kept)
        #expect(fixture.host.bytes(.claimed) == 0)
        #expect(fixture.host.bytes(.owned) == facts.superBlock.bytesUsed)
    }

    @Test func changesGoOnWhileACommitIsWritten() throws {
        let fixture = try Fixture()
        try fixture.store.commit()
        let shared = Shared(fixture)
        try fixture.setItem(Key(256, .inodeItem, 1), [1])
        // Each step of the commit changes the next transaction, reading what the commit has not
        // written yet.
        fixture.host.onStep = {
            do throws(FilesystemError) {
                let step = UInt64(shared.host.steps)
                try shared.store.change { transaction throws(FilesystemError) in
                    let tree = try transaction.tree(Fixture.tree)
                    #expect(try tree.item(Key(256, .inodeItem, 1)) == [1])
                    try tree.insert(Key(500, .inodeItem, step), [2])
                }
            } catch {
                shared.failures.add(error)
            }
        }
        try fixture.store.commit()
        fixture.host.onStep = nil
        #expect(shared.failures.all.isEmpty)
        let items = try FileSystemFacts(fixture.host.disk).items[Fixture.tree]
        #expect(items?.count == 2, "the next transaction is not in this commit")
        try fixture.store.commit()
        let later = try FileSystemFacts(fixture.host.disk)
        later.check()
        #expect(try #require(later.items[Fixture.tree]).count > 4)
    }

    @Test func commitsThatArriveTogetherShareOne() throws {
        let fixture = try Fixture()
        try fixture.store.commit()
        let shared = Shared(fixture)
        let before = fixture.host.commits
        // While the first is held up in its first step, the others change something and arrive.
        let arrived = DispatchSemaphore(value: 0)
        let isFirst = Once()
        fixture.host.onStep = {
            guard isFirst.take() else { return }
            for _ in 0..<8 { arrived.wait() }
        }
        try fixture.setItem(Key(256, .inodeItem, 1), [1])
        together(9) { thread in
            do throws(FilesystemError) {
                if thread > 0 {
                    while !isFirst.isTaken { Thread.sleep(forTimeInterval: 0.001) }
                    try shared.store.change { transaction throws(FilesystemError) in
                        let key = Key(600 + UInt64(thread), .inodeItem, 0)
                        try transaction.tree(Fixture.tree).insert(key, [1])
                    }
                    arrived.signal()
                }
                try shared.store.commit()
            } catch {
                shared.failures.add(error)
            }
        }
        #expect(shared.failures.all.isEmpty)
        #expect(fixture.host.commits - before == 2)
        let facts = try FileSystemFacts(fixture.host.disk)
        #expect(facts.items[Fixture.tree]?.count == 10)
    }
}

private final class Once: @unchecked Sendable {
    private let lock = NSLock()
    private var taken = false

    func take() -> Bool {
        lock.withLock {
            defer { taken = true }
            return !taken
        }
    }

    var isTaken: Bool { lock.withLock { taken } }
}
