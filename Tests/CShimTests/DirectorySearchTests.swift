//===-- DirectorySearchTests.swift - the usual paths find what there is, without a walk of the groups -===//
// Covers: the directory's search over one block, a few, many (bgs_directory_find.h), and claims and
// give-backs through it by each code that the processor can run: paths are chosen with the allocator.
// Not here: what a refusal here leads to (BGAllocationTests), threads (AllocatorStressTests).
// Replay: BG_SEED=… in the environment.
//===-------------------------------------------------------------------------------------------===//

import CShim
import Testing

// With the index's, which choose the code, too.
extension IndexSuite {
    @Suite struct DirectorySearch {
        static let groupSectors: UInt64 = 256

        /// Groups of 256 sectors of 4 KiB, one behind the other.
        private final class Fixture {
            let core: UnsafeMutablePointer<bgs_allocator>

            init(_ code: IndexCode, magazines: Bool = false) {
                bgs_index_use_code(code.core)
                defer { bgs_index_use_code(IndexCode.best.core) }
                var made: UnsafeMutablePointer<bgs_allocator>?
                precondition(bgs_allocator_create(12, magazines, &made) == 0)
                core = made!
            }

            deinit { bgs_allocator_destroy(core) }

            func addGroup(_ number: UInt64, free: UInt64) {
                let bytes = groupSectors << 12
                var group: OpaquePointer?
                precondition(
                    bgs_allocator_add_group(
                        core,
                        number * bytes,
                        bytes,
                        1,
                        true,
                        false,
                        0,
                        &group
                    ) == 0
                )
                precondition(bgs_group_add(group, number * bytes, free << 12) == 0)
                bgs_group_put(group)
            }

            /// The first sector; nil: the directory knows of nothing.
            func claim(_ sectors: UInt64) -> UInt64? {
                let usual = bgs_allocator_usual(core, 1, sectors << 12)
                var extent = bgs_extent()
                guard usual.space != nil, bgs_allocator_claim_usual(core, usual, &extent) == 0
                else { return nil }
                #expect(extent.length == sectors << 12)
                return extent.logical >> 12
            }

            func giveBack(_ sector: UInt64, _ sectors: UInt64) -> CInt {
                bgs_allocator_give_back(core, sector << 12, sectors << 12)
            }
        }

        @Test(arguments: IndexCode.available, [1, 16, 17, 64, 65, 100] as [UInt64])
        func everyGroupsRunIsFoundByItsLength(_ code: IndexCode, _ groups: UInt64) {
            let fixture = Fixture(code)
            // The longest first, so that the right group is not the first one.
            for number in 0..<groups { fixture.addGroup(number, free: groups - number) }
            for number in (0..<groups).reversed() {
                #expect(fixture.claim(groups - number) == number * Self.groupSectors)
            }
            #expect(fixture.claim(1) == nil)
        }

        @Test(arguments: IndexCode.available, [false, true])
        func nothingIsOwnedTwiceAndAllComesBack(_ code: IndexCode, _ magazines: Bool) {
            let seed = replaySeed()
            print("directory: BG_SEED=\(seed), \(code.testDescription)")
            var random = SplitMix64(state: seed)
            let fixture = Fixture(code, magazines: magazines)
            let groups: UInt64 = 70
            for number in 0..<groups { fixture.addGroup(number, free: Self.groupSectors) }
            var isOwned = [Bool](repeating: false, count: Int(groups * Self.groupSectors))
            var held: [(sector: UInt64, sectors: UInt64)] = []
            var misses = 0
            for step in 0..<60_000 {
                if random.next() % 100 < 52 {
                    let sectors = random.next() % 4 == 0 ? 1 : random.next() % 40 + 1
                    guard let sector = fixture.claim(sectors) else {
                        misses += 1
                        continue
                    }
                    for at in Int(sector)..<Int(sector + sectors) {
                        guard !isOwned[at] else {
                            Issue.record("sector \(at) has two owners: seed \(seed), step \(step)")
                            return
                        }
                        isOwned[at] = true
                    }
                    held.append((sector, sectors))
                } else if !held.isEmpty {
                    held.swapAt(Int(random.next() % UInt64(held.count)), held.count - 1)
                    let (sector, sectors) = held.removeLast()
                    for at in Int(sector)..<Int(sector + sectors) { isOwned[at] = false }
                    #expect(fixture.giveBack(sector, sectors) == 0)
                    #expect(fixture.giveBack(sector, sectors) == -bgs_eexist)
                }
            }
            #expect(misses < 60_000 / 4)
            for (sector, sectors) in held { #expect(fixture.giveBack(sector, sectors) == 0) }
            for number in 0..<groups {
                let first = number * Self.groupSectors
                let group = bgs_allocator_get_group(fixture.core, first << 12)
                defer { bgs_group_put(group) }
                var start: UInt64 = 0
                var count: UInt64 = 0
                #expect(bgs_group_next_free(group, first, &start, &count))
                #expect(start == first && count == Self.groupSectors)
            }
        }
    }
}
