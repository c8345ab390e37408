//===-- AddManyTests.swift - the free space of many ranges at once ------------------------------===//
// Sorting against Swift's own; bgs_add_many() and the single bgs_group_add() against each other and
// against what bgs_index_check() wants. Groups become bitmaps and whole again on the way.
// Not here: the C interface's checks of pointers (CInterfaceTests), speed (bgbench w4).

import CShim
import Testing

@Suite("many ranges at once")
struct AddManyTests {
    static let groupSectors: UInt64 = 16384
    static let groups: UInt64 = 5

    /// An allocator with groups of 16384 sectors of 4 KiB, of which nothing is free.
    private final class Fixture {
        let allocator: UnsafeMutablePointer<bgs_allocator>

        init() {
            var made: UnsafeMutablePointer<bgs_allocator>?
            precondition(bgs_allocator_create(12, false, &made) == 0)
            allocator = made!
            for group in 0..<groups {
                let bytes = groupSectors << 12
                precondition(
                    bgs_allocator_add_group(
                        allocator,
                        group * bytes,
                        bytes,
                        1,
                        true,
                        false,
                        0,
                        nil
                    ) == 0
                )
            }
        }

        deinit { bgs_allocator_destroy(allocator) }

        func addMany(_ ranges: inout [bgs_byte_range]) -> (result: CInt, added: Int) {
            var added = -1
            let result = ranges.withUnsafeMutableBufferPointer {
                bgs_add_many(allocator, $0.baseAddress, $0.count, &added)
            }
            return (result, added)
        }

        func add(_ range: bgs_byte_range) -> CInt {
            guard let group = bgs_allocator_get_group(allocator, range.logical) else {
                return -bgs_einval
            }
            defer { bgs_group_put(group) }
            return bgs_group_add(group, range.logical, range.length)
        }

        /// Every free run, by asking each group for it.
        func runs() -> [Range<UInt64>] {
            var found: [Range<UInt64>] = []
            for number in 0..<groups {
                let group = bgs_allocator_get_group(allocator, number * (groupSectors << 12))!
                defer { bgs_group_put(group) }
                var from = number * groupSectors
                var start: UInt64 = 0
                var count: UInt64 = 0
                while bgs_group_next_free(group, from, &start, &count) {
                    found.append(start..<start + count)
                    from = start + count
                }
                var numbers = bgs_group_numbers()
                bgs_group_numbers(group, &numbers)
                #expect(numbers.added_sectors == numbers.free_sectors)
            }
            return found
        }
    }

    /// Runs that do not touch, of `length` sectors, every `spacing`.
    private func lattice(_ spacing: UInt64, _ length: (UInt64) -> UInt64) -> [bgs_byte_range] {
        stride(from: 0, to: groups * groupSectors - spacing, by: Int(spacing)).map { sector in
            // No run crosses a group's end.
            let room = groupSectors - sector % groupSectors
            return bgs_byte_range(
                logical: sector << 12,
                length: min(room, length(sector)) << 12
            )
        }
    }

    private var groups: UInt64 { Self.groups }
    private var groupSectors: UInt64 { Self.groupSectors }

    @Test(arguments: [0, 1, 2, 31, 33, 100, 1000, 70_000])
    func rangesAreSortedByAddress(count: Int) {
        var random = SystemRandomNumberGenerator()
        for bits: UInt64 in [3, 20, 41, 63] {
            var ranges = (0..<count).map { number in
                bgs_byte_range(
                    logical: UInt64.random(in: 0...(1 << bits), using: &random),
                    length: UInt64(number)
                )
            }
            let before = ranges
            ranges.withUnsafeMutableBufferPointer {
                bgs_byte_ranges_sort($0.baseAddress, $0.count)
            }
            #expect(
                ranges.map(\.logical) == before.map(\.logical).sorted(),
                "\(count) of \(bits) bits"
            )
            // Lengths were numbers: each is still there, beside its own address.
            for range in ranges { #expect(before[Int(range.length)].logical == range.logical) }
            #expect(Set(ranges.map(\.length)).count == count)
        }
    }

    @Test(arguments: [26, 40, 130, 700] as [UInt64], [false, true])
    func manyAtOnceAreWhatOneByOneIs(spacing: UInt64, longer: Bool) {
        let length: (UInt64) -> UInt64 = { longer ? 1 + $0 * 7 % (spacing - 1) : 1 }
        let ordered = lattice(spacing, length)
        let wanted = ordered.map { range in
            range.logical >> 12..<(range.logical + range.length) >> 12
        }
        for order in [ordered, ordered.reversed(), ordered.shuffled()] {
            let one = Fixture()
            let many = Fixture()
            for range in order { #expect(one.add(range) == 0) }
            #expect(one.runs() == wanted)
            var ranges = order
            #expect(many.addMany(&ranges) == (0, ordered.count))
            #expect(ranges.map(\.logical) == ordered.map(\.logical))
            #expect(many.runs() == wanted)
            // Again: all of it is free already.
            for range in order { #expect(one.add(range) == -bgs_eexist) }
            #expect(many.addMany(&ranges) == (-bgs_eexist, 0))
            #expect(one.runs() == wanted && many.runs() == wanted)
            // What lies between makes every group whole.
            var gaps = ordered.enumerated().compactMap { number, range -> bgs_byte_range? in
                let begin = range.logical + range.length
                let group = (range.logical >> 12) / groupSectors
                let groupEnd = (group + 1) * groupSectors << 12
                let next =
                    number + 1 < ordered.count
                    ? min(ordered[number + 1].logical, groupEnd) : groupEnd
                return next > begin
                    ? bgs_byte_range(logical: begin, length: next - begin) : nil
            }
            // The start of a group that no run of the lattice begins at.
            for group in 1..<groups {
                let start = group * groupSectors << 12
                if let first = ordered.first(where: { $0.logical >= start }), first.logical > start
                {
                    gaps.append(bgs_byte_range(logical: start, length: first.logical - start))
                }
            }
            for gap in gaps.shuffled() { #expect(one.add(gap) == 0) }
            gaps.shuffle()
            #expect(many.addMany(&gaps) == (0, gaps.count))
            let whole = (0..<groups).map { $0 * groupSectors..<($0 + 1) * groupSectors }
            #expect(one.runs() == whole)
            #expect(many.runs() == whole)
        }
    }

    @Test func aRefusedRangeStopsAndThoseBelowStay() {
        let fixture = Fixture()
        let groupBytes = groupSectors << 12
        var ranges = [
            bgs_byte_range(logical: 3 * groupBytes, length: 4096),
            bgs_byte_range(logical: groupBytes - 4096, length: 8192),
            bgs_byte_range(logical: 8192, length: 4096),
        ]
        #expect(fixture.addMany(&ranges) == (-bgs_einval, 1), "it crosses a group's end")
        #expect(fixture.runs() == [2..<3])
        ranges = [
            bgs_byte_range(logical: 65536, length: 4096),
            bgs_byte_range(logical: groups * groupBytes, length: 4096),
        ]
        #expect(fixture.addMany(&ranges) == (-bgs_einval, 1), "no group is there")
        ranges = [
            bgs_byte_range(logical: 131072, length: 8192),
            bgs_byte_range(logical: 135168, length: 4096),
        ]
        #expect(fixture.addMany(&ranges) == (-bgs_eexist, 1), "they overlap")
        ranges = [bgs_byte_range(logical: 4097, length: 4096)]
        #expect(fixture.addMany(&ranges) == (-bgs_einval, 0), "it is not aligned")
        ranges = []
        #expect(fixture.addMany(&ranges) == (0, 0))
        #expect(fixture.runs() == [2..<3, 16..<17, 32..<34])
    }
}
