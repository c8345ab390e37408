// Commits that fail at each write, flush and super block in turn, and crashes there: what is on the
// device is the commit before, or the one that failed, and whole; of what was in flight any part may
// have come through.
//
// Not covered here: failing devices themselves, super block copies (BGDevicesTests).
// Replay with BG_SEED=….

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees

@Suite struct TransactionFaultTests {
    /// A history with a commit behind it and changes before it, the same each time.
    private func prepared() throws -> (fixture: Fixture, before: Disk) {
        let fixture = try Fixture()
        for number in 0..<200 {
            try fixture.write(Key(300, .extentData, UInt64(number) << 20), length: 8192)
        }
        try fixture.commitAndCheck()
        let before = fixture.host.disk
        for number in 0..<200 where number % 3 == 0 {
            try fixture.remove(Key(300, .extentData, UInt64(number) << 20))
        }
        for number in 0..<100 {
            try fixture.write(Key(301, .extentData, UInt64(number) << 20), length: 4096)
        }
        fixture.host.addChunk(.data, 1 << 20)
        return (fixture, before)
    }

    @Test func aCommitThatFailsAnywhereLeavesTheOneBefore() throws {
        print("transaction faults: BG_SEED=\(testSeed)")
        var random = SeededGenerator(state: testSeed)
        var step = 0
        // Ends: a commit has so many steps, and then it succeeds.
        while true {
            let (fixture, before) = try prepared()
            let model = try FileSystemFacts(before)
            fixture.host.stepsToFault = step
            do throws(FilesystemError) {
                try fixture.store.commit()
            } catch {
                #expect(error.code == .io)
            }
            guard fixture.store.failure != nil else {
                try fixture.check()
                #expect(step > 3)
                return
            }
            #expect(fixture.store.failure?.code == .io)
            let disk = fixture.host.disk
            for round in 0..<4 {
                let survivor = disk.crashed { _ in
                    round == 0 ? false : round == 1 ? true : random.below(2) == 0
                }
                let facts = try FileSystemFacts(survivor)
                facts.check()
                #expect(facts.superBlock.generation == model.superBlock.generation)
                #expect(facts.items == model.items)
                #expect(facts.checksums == model.checksums)
            }
            // What was pinned did not come back, and goes on from there after opening.
            try fixture.reopen(disk.crashed { _ in random.below(2) == 0 })
            try fixture.setItem(Key(256, .inodeItem, 5), [1])
            try fixture.store.commit()
            try FileSystemFacts(fixture.host.disk).check()
            step += 1
        }
    }

    @Test func runningOutOfSpaceInACommitHarmsNothing() throws {
        let fixture = try Fixture(metadataBytes: 256 << 10)
        try fixture.commitAndCheck()
        let before = try FileSystemFacts(fixture.host.disk)
        var failure: FilesystemError?
        var inode: UInt64 = 1000
        while failure == nil && inode < 3000 {
            do {
                let data = [UInt8](repeating: 1, count: 100)
                try fixture.setItem(Key(inode, .inodeItem, 0), data)
            } catch let error as FilesystemError {
                failure = error
            }
            inode += 1
        }
        #expect(failure?.code == .noSpace)
        // A change that finds no room changes nothing, and the others are still to be committed. A
        // commit that finds none is the last one.
        do throws(FilesystemError) {
            try fixture.store.commit()
        } catch {
            #expect(error.code == .noSpace)
            #expect(fixture.store.failure?.code == .noSpace)
        }
        if fixture.store.failure == nil {
            try fixture.check()
        } else {
            let facts = try FileSystemFacts(fixture.host.disk)
            facts.check()
            #expect(facts.items == before.items)
        }
    }

    @Test func anExtentWithoutAnItemIsRefusedBeforeTheCommit() throws {
        let fixture = try Fixture()
        try fixture.commitAndCheck()
        let reference = DataReference(
            logical: try #require(fixture.host.groupRecords.last).logical,
            length: 4096,
            root: 5,
            inode: 257,
            offset: 0
        )
        for count in [1, -1] {
            do throws(FilesystemError) {
                try fixture.store.change { transaction throws(FilesystemError) in
                    if count > 0 {
                        try transaction.addReference(reference)
                    } else {
                        try transaction.dropReference(reference)
                    }
                }
                Issue.record("a reference to free space was taken")
            } catch {
                #expect(error.code == .corrupt)
            }
        }
        #expect(fixture.store.failure == nil)
        try fixture.setItem(Key(256, .inodeItem, 5), [1])
        try fixture.commitAndCheck()
    }
}
