// Transactions and commits, one case each, on a file system in memory (TransactionFixture.swift), which
// is read back and compared as a whole after each.
//
// Not covered here: random histories (TransactionModelTests), blocks shared by snapshots
// (SnapshotTransactionTests), failures (TransactionFaultTests), threads (TransactionThreadTests).

import BGDiskFormat
import Testing

@testable import BGTrees

private let sector: UInt64 = 4096

private func part(_ number: Int, inode: UInt64 = 257) -> Key {
    Key(inode, .extentData, UInt64(number) * (1 << 20))
}

@Suite struct TransactionTests {
    @Test(arguments: FixtureFeatures.all)
    func aFormattedFileSystemIsWhole(_ features: FixtureFeatures) throws {
        let fixture = try Fixture(features)
        try fixture.commitAndCheck()
        #expect(try fixture.host.disk.parsedSuperBlock().generation == 1)
        try fixture.reopen()
        try fixture.setItem(Key(256, .inodeItem, 1), [1])
        try fixture.commitAndCheck()
        #expect(try fixture.host.disk.parsedSuperBlock().generation == 2)
    }

    @Test func aCommitWithoutChangesWritesNothing() throws {
        let fixture = try Fixture()
        try fixture.store.commit()
        let steps = fixture.host.steps
        try fixture.store.commit()
        #expect(fixture.host.steps == steps)
    }

    @Test(arguments: FixtureFeatures.all)
    func extentsComeAndGo(_ features: FixtureFeatures) throws {
        let fixture = try Fixture(features)
        try fixture.commitAndCheck()
        let used = try fixture.host.disk.parsedSuperBlock().bytesUsed
        for number in 0..<50 { try fixture.write(part(number), length: 2 * sector) }
        try fixture.commitAndCheck()
        for number in 0..<50 { try fixture.remove(part(number)) }
        try fixture.commitAndCheck()
        #expect(try fixture.host.disk.parsedSuperBlock().bytesUsed == used)
    }

    @Test func anExtentRecordedAndDroppedInOneTransactionIsFreeAtOnce() throws {
        let fixture = try Fixture()
        try fixture.commitAndCheck()
        let free = fixture.host.bytes(.free)
        let logical = try fixture.host.claimData(sector)
        let reference = DataReference(
            logical: logical,
            length: sector,
            root: 5,
            inode: 257,
            offset: 0
        )
        try fixture.store.change { transaction throws(FilesystemError) in
            try transaction.recordExtent(reference)
            try transaction.setChecksums(logical: logical, [1, 2, 3, 4])
            #expect(try transaction.isRecorded(logical: logical, length: 1))
            try transaction.dropReference(reference)
            #expect(try !transaction.isRecorded(logical: logical, length: sector))
        }
        #expect(fixture.host.bytes(.claimed) < free)
        try fixture.commitAndCheck()
    }

    @Test func whatIsRecordedIsNotRecordedAgain() throws {
        let fixture = try Fixture()
        try fixture.write(part(0), length: 4 * sector)
        for round in 0..<2 {
            let logical = try #require(fixture.parts[part(0)]).extent
            let overlap = DataReference(
                logical: logical + sector,
                length: sector,
                root: 5,
                inode: 258,
                offset: 0
            )
            do throws(FilesystemError) {
                try fixture.store.change { transaction throws(FilesystemError) in
                    #expect(try transaction.isRecorded(logical: logical + sector, length: 1))
                    #expect(try !transaction.isRecorded(logical: logical + 4 * sector, length: 1))
                    if logical > 0 {
                        #expect(try !transaction.isRecorded(logical: logical - 1, length: 1))
                    }
                    try transaction.recordExtent(overlap)
                }
                Issue.record("recorded twice in round \(round)")
            } catch {
                #expect(error.code == .exists)
            }
            try fixture.commitAndCheck()
        }
    }

    @Test(arguments: [4096, 16384] as [UInt32])
    func manyReferencesMoveIntoItemsOfTheirOwnAndBack(_ nodeSize: UInt32) throws {
        let fixture = try Fixture(FixtureFeatures(nodeSize: nodeSize))
        try fixture.write(part(0), length: sector)
        for inode in 300..<400 {
            try fixture.share(part(0), at: part(0, inode: UInt64(inode)))
            if inode % 30 == 0 { try fixture.commitAndCheck() }
        }
        try fixture.commitAndCheck()
        #expect(try FileSystemFacts(fixture.host.disk).keyedReferences > 0)
        for inode in 300..<400 {
            try fixture.remove(part(0, inode: UInt64(inode)))
            if inode % 30 == 0 { try fixture.commitAndCheck() }
        }
        try fixture.remove(part(0))
        try fixture.commitAndCheck()
        #expect(try FileSystemFacts(fixture.host.disk).keyedReferences == 0)
    }

    @Test(arguments: FixtureFeatures.all)
    func chunksComeAndGo(_ features: FixtureFeatures) throws {
        let fixture = try Fixture(features, dataBytes: 1 << 20)
        try fixture.commitAndCheck()
        fixture.host.addChunk(.data, 8 << 20)
        fixture.host.addChunk(.system, 1 << 20)
        try fixture.commitAndCheck()
        try fixture.write(part(0), length: 4 << 20)
        try fixture.commitAndCheck()
        #expect(fixture.host.removeEmptyChunk(.data))
        try fixture.remove(part(0))
        try fixture.commitAndCheck()
        #expect(fixture.host.removeEmptyChunk(.data))
        try fixture.commitAndCheck()
        fixture.host.addChunk(.data, 1 << 20)
        #expect(fixture.host.removeEmptyChunk(.data))
        try fixture.commitAndCheck()
        try fixture.reopen()
        try fixture.setItem(Key(256, .inodeItem, 7), [1])
        try fixture.commitAndCheck()
    }

    @Test func aFailedCommitMakesEverythingReadOnly() throws {
        let fixture = try Fixture()
        try fixture.store.commit()
        try fixture.setItem(Key(256, .inodeItem, 7), [1])
        fixture.host.stepsToFault = 0
        #expect(throws: FilesystemError.self) { try fixture.store.commit() }
        #expect(fixture.store.failure?.code == .io)
        do {
            try fixture.setItem(Key(256, .inodeItem, 8), [1])
            Issue.record("changed after a failure")
        } catch let error as FilesystemError {
            #expect(error.code == .readOnly)
        }
        // What was read from memory still can be.
        let data = try fixture.store.read { transaction throws(FilesystemError) in
            try transaction.tree(Fixture.tree).item(Key(256, .inodeItem, 7))
        }
        #expect(data == [1])
    }

    @Test func theStoreIsLetGoOf() throws {
        var fixture: Fixture? = try Fixture()
        try fixture?.store.commit()
        let state = Weak(fixture?.store.state)
        #expect(state.object != nil)
        fixture = nil
        #expect(state.object == nil)
    }

    @Test func aTreeIsMadeOnceAndFoundAgain() throws {
        let fixture = try Fixture()
        try fixture.store.change { transaction throws(FilesystemError) in
            let item = RootItem(creating: 9, generation: 1, nodeSize: 4096)
            let tree = try transaction.createTree(9, item)
            try tree.insert(Key(1, .inodeItem, 2), [3])
            #expect(throws: FilesystemError.self) { try transaction.createTree(9, item) }
        }
        try fixture.commitAndCheck()
        try fixture.reopen()
        try fixture.store.change { transaction throws(FilesystemError) in
            #expect(try transaction.tree(9).item(Key(1, .inodeItem, 2)) == [3])
            var item = try transaction.rootItem(of: 9)
            item.flags = 5
            try transaction.setRootItem(item, of: 9)
            #expect(throws: FilesystemError.self) { try transaction.tree(8) }
        }
        try fixture.commitAndCheck()
        let facts = try FileSystemFacts(fixture.host.disk)
        #expect(facts.roots[Key(9, .rootItem, 0)]?.flags == 5)
    }

    @Test func checksumsAreSetReplacedAndCut() throws {
        let fixture = try Fixture()
        try fixture.write(part(0), length: 1 << 20)
        try fixture.write(part(1), length: 1 << 20)
        try fixture.commitAndCheck()
        let logical = try #require(fixture.parts[part(0)]).extent
        try fixture.store.change { transaction throws(FilesystemError) in
            try transaction.setChecksums(logical: logical + 8 * 4096, [9, 9, 9, 9, 8, 8, 8, 8])
            var seen: [UInt64: [UInt8]] = [:]
            try transaction.forEachChecksum(
                logical: logical + 7 * 4096,
                length: 4 * 4096
            ) { start, sums in
                for index in 0..<sums.byteCount / 4 {
                    seen[start + UInt64(index) * 4096] = sums.array(index * 4..<index * 4 + 4)
                }
            }
            #expect(seen.count == 4)
            #expect(seen[logical + 8 * 4096] == [9, 9, 9, 9])
            #expect(seen[logical + 9 * 4096] == [8, 8, 8, 8])
            #expect(seen[logical + 7 * 4096] == fixture.checksums[logical + 7 * 4096])
        }
        fixture.checksums[logical + 8 * 4096] = [9, 9, 9, 9]
        fixture.checksums[logical + 9 * 4096] = [8, 8, 8, 8]
        try fixture.commitAndCheck()
        try fixture.store.change { transaction throws(FilesystemError) in
            try transaction.removeChecksums(logical: logical + 4096, length: 4096)
        }
        fixture.checksums[logical + 4096] = nil
        try fixture.commitAndCheck()
    }
}

/// Does not keep what it holds.
private struct Weak<Object: AnyObject> {
    weak var object: Object?

    init(_ object: Object?) { self.object = object }
}
