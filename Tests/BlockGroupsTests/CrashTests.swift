//===-- CrashTests.swift - a loss of power at any moment --------------------------------------------===//
// A busy workload runs over devices in memory whose writes and flushes are recorded. At every flush, the images
// that a crash could have left (nothing, all, random parts of what was in flight; writes torn at 4 KiB) are
// opened: each holds exactly the last commit or the one in progress, and nothing is wrong with it. Some
// are given to btrfs check, and some are written to again.
//
// Replay: BG_SEED=…; BG_TEST_SCALE=… for more commits and parts; BG_JUDGE=full gives all to btrfs check.
// Not covered here: devices that break the promise of a flush.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

/// A crash image in which something is wrong: the test ends with the first one.
private struct Lost: Error, CustomStringConvertible {
    let description: String
}

@Suite(.enabled(if: Machine.hasBtrfsProgs, "needs mkfs.btrfs and btrfs check"), .serialized)
struct CrashTests {
    struct Setup: CustomTestStringConvertible, Sendable {
        let name: String
        let devices: Int
        let options: [String]
        var testDescription: String { name }
    }

    static let setups = [
        Setup(name: "dup, nodes of 4 KiB", devices: 1, options: ["-n", "4096"]),
        Setup(
            name: "raid1 on two devices",
            devices: 2,
            options: ["-n", "4096", "-m", "raid1", "-d", "raid1"]
        ),
        Setup(
            name: "raid10 and raid1c3 on four devices",
            devices: 4,
            options: ["-n", "4096", "-m", "raid1c3", "-d", "raid10"]
        ),
        Setup(name: "xxhash, nodes of 16 KiB", devices: 1, options: ["--csum", "xxhash"]),
    ]

    @Test(arguments: setups)
    func aCrashLeavesTheLastCommitOrTheOneInProgress(_ setup: Setup) throws {
        var random = SeededGenerator.printed("crashes, \(setup.name)")
        let image = try MkfsImage(
            sizes: Array(repeating: 256 << 20, count: setup.devices),
            setup.options
        )
        let begin = try nearlyFilledGroup(image)
        let devices = begin.map { MemoryDevice(over: $0) }
        let recording = Recording(devices)
        var states = [TreeModel()]
        do {
            let filesystem = try openFilesystem(devices, readOnly: false)
            let work = try Workload(filesystem, folder: "work", seed: random.next())
            for commit in 1...3 * testScale {
                for _ in 0..<Int.random(in: 5...25, using: &random) { try work.step() }
                states.append(work.model)
                try filesystem.commit()
                recording.mark(commit)
            }
        }
        recording.stop()
        #expect(try content(devices) == states.last)
        try examine(recording, begin, random.next(), setup) { crash, found in
            let last = crash.lastMark ?? 0
            guard found != states[last], last + 1 == states.count || found != states[last + 1]
            else {
                return
            }
            throw Lost(
                description:
                    "neither commit \(last) nor \(last + 1): \(states[last].difference(found))"
            )
        }
    }

    /// Four threads, each in a folder of its own, each committing now and then.
    @Test func withManyThreadsACrashKeepsWhatACommitThatReturnedHadSeen() throws {
        var random = SeededGenerator.printed("crashes with threads")
        let setup = Setup(name: "threads", devices: 1, options: ["-n", "4096"])
        let image = try MkfsImage(sizes: [256 << 20], setup.options)
        let begin = try nearlyFilledGroup(image)
        let devices = begin.map { MemoryDevice(over: $0) }
        let recording = Recording(devices)
        let threads = 4
        let seeds = (0..<threads).map { _ in random.next() }
        let history = History(threads: threads, recording)
        do {
            let filesystem = try openFilesystem(devices, readOnly: false)
            DispatchQueue.concurrentPerform(iterations: threads) { thread in
                do throws(FilesystemError) {
                    var random = SeededGenerator(state: seeds[thread])
                    let work = try Workload(filesystem, folder: "t\(thread)", seed: random.next())
                    history.add(thread, work.model)
                    work.didChange = { history.add(thread, $0) }
                    for _ in 0..<25 * testScale {
                        try work.step()
                        guard Int.random(in: 0..<12, using: &random) == 0 else { continue }
                        let seen = history.now
                        try filesystem.commit()
                        history.committed(seen)
                    }
                } catch {
                    history.fail(error)
                }
            }
            try filesystem.close()
        }
        recording.stop()
        #expect(history.failures == [])
        try examine(recording, begin, random.next(), setup) { crash, found in
            let floor = crash.lastMark.map { history.floors[$0] }
            for thread in 0..<threads {
                let folder = "t\(thread)"
                var part = TreeModel()
                part.folders = found.folders.filter { $0 == folder || $0.hasPrefix(folder + "/") }
                part.files = found.files.filter { $0.key.hasPrefix(folder + "/") }
                let first = floor?[thread] ?? 0
                guard !history.states[thread][first...].contains(part) else { continue }
                let last = history.states[thread][first]
                throw Lost(
                    description: "\(folder) is not as after call \(first) or any later: "
                        + last.difference(part)
                )
            }
        }
    }

    /// What fills the first data group, so that the workload soon needs a chunk.
    private static let filler = "filler"

    private func nearlyFilledGroup(_ image: MkfsImage) throws -> [MemoryDevice] {
        let devices = try image.memoryDevices()
        let filesystem = try openFilesystem(devices, readOnly: false)
        try filesystem.cacheFreeSpace()
        let file = try filesystem.createFile(FilePath(Self.filler))
        var offset = 0
        var length = 65536
        // Ends: few runs are free in a new group; a copy of the super block divides them.
        for _ in 0..<4 where length > 0 {
            try file.write(at: offset, [UInt8](repeating: 1, count: length))
            try filesystem.commit()
            offset += length
            // The group that data goes to: mkfs.btrfs may leave others that are of no use.
            var run = 0
            filesystem.allocator.forEachGroup { group in
                let used = filesystem.usedBytes(ofGroupAt: group.logical) ?? 0
                if group.flags.contains(.data), used > 0 {
                    run = max(run, Int(group.statistics.largestRun))
                }
                return true
            }
            length = run > 65536 ? run - 16_384 : 0
        }
        try file.close()
        try filesystem.close()
        return devices
    }

    /// What devices hold beside the filler.
    private func content(_ devices: [MemoryDevice]) throws(FilesystemError) -> TreeModel {
        try TreeModel(reading: openFilesystem(devices), but: Self.filler)
    }

    /// Looks at every crash image.
    private func examine(
        _ recording: Recording,
        _ begin: [MemoryDevice],
        _ seed: UInt64,
        _ setup: Setup,
        _ holds: (CrashImage, TreeModel) throws -> Void
    ) throws {
        let groups = try [begin, recording.devices].map { devices in
            Set(try openFilesystem(devices).reader.blockGroups.map { $0.logical })
        }
        #expect(!groups[1].isSubset(of: groups[0]), "no chunk was allocated meanwhile")
        let judgesAll = ProcessInfo.processInfo.environment["BG_JUDGE"] == "full"
        var crashes = CrashPoints(recording, from: begin, seed: seed)
        crashes.partsPerFlush = 2 * testScale
        var count = 0
        var judged = 0
        try crashes.forEach { crash in
            count += 1
            do {
                try holds(crash, try content(crash.devices))
                let wrong = try faults(crash.devices)
                if !wrong.isEmpty { throw Lost(description: wrong.joined(separator: "\n")) }
                if judgesAll || count % 16 == 1 {
                    judged += 1
                    if let words = try complaint(crash.devices) {
                        throw Lost(description: words)
                    }
                }
                if count % 4 == 0 { try goOn(crash, seed) }
            } catch {
                let words = (error as? FilesystemError)?.message ?? "\(error)"
                Issue.record("crash image \(count), \(crash.name): \(words)")
                throw error
            }
        }
        print(
            "\(setup.name): \(recording.events.count) events, \(crashes.flushCount) flushes, "
                + "\(count) crash images, \(judged) by btrfs check"
        )
        #expect(count > 20)
    }

    /// What a crash left can be written to: old blocks that were never committed do no harm.
    private func goOn(_ crash: CrashImage, _ seed: UInt64) throws {
        let devices = crash.devices.map { MemoryDevice(over: $0) }
        var expected: TreeModel
        do {
            let filesystem = try openFilesystem(devices, readOnly: false)
            expected = try TreeModel(reading: filesystem, but: Self.filler)
            let work = try Workload(filesystem, folder: "afterwards", seed: seed)
            for _ in 0..<10 { try work.step() }
            try filesystem.close()
            expected.files.merge(work.model.files) { $1 }
            expected.folders.formUnion(work.model.folders)
        }
        let found = try content(devices)
        guard found == expected else {
            throw Lost(description: "written to afterwards: \(expected.difference(found))")
        }
        let wrong = try faults(devices)
        if !wrong.isEmpty {
            throw Lost(description: "afterwards: \(wrong.joined(separator: "\n"))")
        }
    }
}

/// What each thread's folder held after each of its calls, and how far commits had seen them.
private final class History: @unchecked Sendable {
    private let lock = NSLock()
    private let recording: Recording
    private(set) var states: [[TreeModel]]
    /// By mark: for each thread, the first state that a crash after the mark may leave.
    private(set) var floors: [[Int]] = []
    private(set) var failures: [String] = []

    init(threads: Int, _ recording: Recording) {
        self.recording = recording
        states = Array(repeating: [TreeModel()], count: threads)
    }

    func add(_ thread: Int, _ state: TreeModel) { lock.withLock { states[thread].append(state) } }

    /// The last state of each thread.
    var now: [Int] { lock.withLock { states.map { $0.count - 1 } } }

    /// A commit that began when `seen` was the last state has returned.
    func committed(_ seen: [Int]) {
        lock.withLock {
            let before = floors.last ?? seen
            floors.append(zip(before, seen).map { max($0, $1) })
            recording.mark(floors.count - 1)
        }
    }

    func fail(_ error: FilesystemError) { lock.withLock { failures.append(error.message) } }
}
