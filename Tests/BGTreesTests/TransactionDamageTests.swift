// Trees that contradict each other: a change is refused, or the commit is, and nothing traps, hangs, or
// reaches the device.
//
// Not covered here: failing devices (TransactionFaultTests), changed bytes (WritingMutationTests).

import BGDiskFormat
import Testing

@testable import BGTrees

@Suite struct TransactionDamageTests {
    /// A committed subvolume tree with leaves below its root.
    private func prepared() throws -> Fixture {
        let fixture = try Fixture()
        for number in 0..<200 {
            try fixture.setItem(
                Key(300, .inodeItem, UInt64(number)),
                [UInt8](repeating: 3, count: 160)
            )
        }
        try fixture.commitAndCheck()
        return fixture
    }

    /// Where the root of the subvolume tree and its first leaf lie.
    private func blocksInUse(_ fixture: Fixture) throws -> [UInt64] {
        try fixture.store.read { transaction throws(FilesystemError) in
            let root = try transaction.tree(Fixture.tree).root
            let block = try transaction.store.block(.root(of: root))
            return [root.logical, block.childLogical(0)]
        }
    }

    @Test(arguments: [0, 1])
    func aClaimOfABlockInUseIsRefused(level: Int) throws {
        let fixture = try prepared()
        let before = try FileSystemFacts(fixture.host.disk)
        fixture.host.claimsNext = [try blocksInUse(fixture)[level]]
        #expect(throws: FilesystemError.self) {
            try fixture.setItem(Key(256, .inodeItem, 1), [1])
        }
        #expect(fixture.store.failure?.code == .corrupt)
        #expect(throws: FilesystemError.self) { try fixture.store.commit() }
        #expect(try FileSystemFacts(fixture.host.disk).items == before.items)
    }

    @Test func anItemOfAnotherSortInTheExtentTreeEndsASearch() throws {
        let fixture = try prepared()
        // Not the first of its group, whose item would end the search before.
        _ = try fixture.host.claimData(4096)
        _ = try fixture.host.claimData(4096)
        let logical = try fixture.host.claimData(4096)
        try fixture.store.change { transaction throws(FilesystemError) in
            let tree = try transaction.tree(ObjectID.extentTree)
            try tree.insert(Key(logical - 4096, .inodeItem, 0), [])
        }
        #expect(throws: FilesystemError.self) {
            try fixture.store.read { transaction throws(FilesystemError) in
                try transaction.isRecorded(logical: logical, length: 4096)
            }
        }
    }
}
