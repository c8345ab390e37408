//===-- FaultTests.swift - each transfer in turn fails --------------------------------------------===//
// A workload runs again and again over devices in memory; each time another read, write or flush fails (EIO,
// ENOSPC, half of it done), once or from then on. Held, each time: the call that met it throws, with words,
// or did its work from another copy; what it was to do is done or not, nothing between; what a commit that
// returned had made durable is there afterwards; a commit that failed turns the file system read-only, and
// its state is the last commit's or its own; no claim is left over; nothing is wrong with the image.
//
// Replay: BG_SEED=…; BG_FAULTS=full makes each transfer fail in each of these ways, and not in one of them.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasBtrfsProgs, "needs mkfs.btrfs and btrfs check"), .serialized)
struct FaultTests {
    /// One run of the workload with one fault, and what must hold of it.
    private struct Run {
        let name: String
        let devices: [MemoryDevice]
        let plan: FaultPlan
        /// The last commit that returned, and the state that one that failed was to make durable.
        var committed = TreeModel()
        var inProgress: TreeModel?
        var errors: [FilesystemError] = []
        var free: UInt64?
        /// A write may be torn.
        var tears = false

        init(_ name: String, from begin: [MemoryDevice]) {
            self.name = name
            devices = begin.map { MemoryDevice(over: $0) }
            plan = FaultPlan(devices)
        }

        mutating func run(_ seed: UInt64, arm: (FaultPlan) -> Void) throws {
            let filesystem = try openFilesystem(devices, readOnly: false)
            committed.folders = []
            let work = try Workload(filesystem, folder: "work", seed: seed)
            try filesystem.commit()
            committed = work.model
            arm(plan)
            for step in 0..<40 where filesystem.failure == nil {
                do throws(FilesystemError) {
                    if step % 8 == 7 {
                        inProgress = work.model
                        try filesystem.commit()
                        committed = work.model
                        inProgress = nil
                    } else {
                        try work.step()
                    }
                } catch {
                    errors.append(error)
                    try settle(work, filesystem, error)
                }
            }
            plan.heal()
            try end(work, filesystem)
        }

        /// After a failure: the state is the old one or the intended one, in memory.
        private mutating func settle(
            _ work: Workload,
            _ filesystem: Filesystem,
            _ error: FilesystemError
        ) throws {
            #expect(
                [.io, .noSpace, .readOnly].contains(error.code) && !error.message.isEmpty,
                "\(name): \(error.message)"
            )
            if filesystem.failure != nil { return }
            inProgress = nil
            // A fault that lasts may keep the reader from it.
            guard let found = try? work.found() else { return }
            #expect(
                found == work.model || found == work.intended,
                "\(name): half done: \(work.model.difference(found))"
            )
            work.accept(found)
        }

        private mutating func end(_ work: Workload, _ filesystem: Filesystem) throws {
            if filesystem.failure == nil {
                let found = try work.found()
                #expect(
                    found == work.model || found == work.intended,
                    "\(name): \(work.model.difference(found))"
                )
                try filesystem.commit()
                committed = found
                inProgress = nil
                let space = try space(filesystem)
                #expect(space.claimed == 0, "\(name): \(space.claimed) bytes claimed for ever")
                free = space.free
            } else {
                // Reading goes on; nothing is changed any more.
                _ = try work.found()
                for _ in 0..<2 {
                    expectRefusal(.readOnly) { () throws(FilesystemError) in
                        try filesystem.makeDirectory("too late")
                    }
                    expectRefusal(.readOnly) { () throws(FilesystemError) in try filesystem.commit()
                    }
                }
            }
        }

        /// What a new process finds.
        func expectWhole(byBtrfsCheck: Bool) throws {
            plan.stop()
            let filesystem = try openFilesystem(devices, readOnly: false)
            let found = try Workload.foundIn(filesystem, "work")
            #expect(
                found == committed || found == inProgress,
                "\(name): committed was lost: \(committed.difference(found))"
            )
            let space = try space(filesystem)
            #expect(space.claimed == 0)
            if let free {
                #expect(
                    space.free == free,
                    "\(name): \(free) bytes free before, \(space.free) after"
                )
            }
            // Half of a super block's second copy may have arrived; the next commit writes it again.
            let wrong = try faults(devices).filter { !tears || !$0.hasPrefix("super block:") }
            #expect(wrong == [], "\(name)")
            // btrfs check, like the kernel, has no use for a device whose first super block is torn.
            if byBtrfsCheck && !tears {
                let words = try complaint(devices)
                #expect(words == nil, "\(name): \(words ?? "")")
            }
        }
    }

    private func begin() throws -> [MemoryDevice] {
        try MkfsImage(sizes: [256 << 20], ["-n", "4096"], files: 30).memoryDevices()
    }

    /// Transfers of each kind in a run without a fault.
    private func counts(_ begin: [MemoryDevice], _ seed: UInt64) throws -> [FaultPlan.Transfer: Int]
    {
        var run = Run("no fault", from: begin)
        var atStart: [FaultPlan.Transfer: Int] = [:]
        try run.run(seed) { plan in
            for kind in FaultPlan.Transfer.allCases { atStart[kind] = plan.count(kind) }
        }
        #expect(run.errors.isEmpty)
        var counts: [FaultPlan.Transfer: Int] = [:]
        for kind in FaultPlan.Transfer.allCases {
            counts[kind] = run.plan.count(kind) - atStart[kind]!
        }
        try run.expectWhole(byBtrfsCheck: true)
        return counts
    }

    @Test(arguments: FaultPlan.Transfer.allCases)
    func aTransferThatFailsLosesNothingCommitted(_ transfer: FaultPlan.Transfer) throws {
        var random = SeededGenerator.printed("faults, \(transfer)")
        let begin = try begin()
        let seed = random.next()
        let count = try #require(try counts(begin, seed)[transfer])
        let all = ProcessInfo.processInfo.environment["BG_FAULTS"] == "full"
        let faults = FaultPlan.Fault.allCases
        let trials = (0..<count).flatMap { number in
            (all ? faults : [faults[number % 3]]).map { (number, $0) }
        }
        var met = 0
        var readOnly = 0
        for (index, (number, fault)) in trials.enumerated() {
            let lasting = index % 4 == 3
            let name = "\(transfer) \(number) of \(count): \(fault)\(lasting ? ", lasting" : "")"
            var run = Run(name, from: begin)
            run.tears = transfer == .write && fault == .short
            try run.run(seed) { $0.fail(transfer, number: number, fault, lasting: lasting) }
            met += run.errors.isEmpty ? 0 : 1
            readOnly += run.inProgress == nil ? 0 : 1
            try run.expectWhole(byBtrfsCheck: index % 8 == 0)
        }
        print(
            "\(transfer): \(count), \(trials.count) made to fail, \(met) met by a caller, "
                + "\(readOnly) ended the writing"
        )
    }

    @Test func openingFailsOrSucceedsWhicheverReadFails() throws {
        let begin = try begin()
        var opened = 0
        var refused = 0
        for lasting in [false, true] {
            // Ends: no opening takes so many reads of a small file system.
            for number in 0..<1000 {
                let devices = begin.map { MemoryDevice(over: $0) }
                let plan = FaultPlan(devices)
                defer { plan.stop() }
                plan.fail(.read, number: number, .io, lasting: lasting)
                do throws(FilesystemError) {
                    let filesystem = try openFilesystem(devices, readOnly: false)
                    opened += 1
                    #expect(filesystem.failure == nil)
                } catch {
                    refused += 1
                    #expect(error.code == .io, "\(error.message)")
                }
                plan.heal()
                // A copy that could not be read is written anew, and is as it was.
                #expect(devices[0].writeCount <= plan.failed)
                #expect(try number % 5 > 0 || faults(devices) == [])
                if plan.failed == 0 { break }
                #expect(number < 999)
            }
        }
        print("opening: \(opened) in spite of a failed read, \(refused) refused")
        #expect(refused > 0 && opened > 2)
    }
}

extension Workload {
    static func foundIn(_ filesystem: Filesystem, _ folder: String) throws -> TreeModel {
        var model = try TreeModel(reading: filesystem, under: folder)
        model.folders.insert(folder)
        return model
    }
}
