//===-- DirectoryTests.swift - the bins of lengths -----------------------------------------------===//
// Covers: bgs_bin_of() and its inverse over every length that matters.
// Not here: searches (DirectorySearchTests.swift).
//===-------------------------------------------------------------------------------------------===//

import CShim
import Testing

@Suite("directory of groups")
struct DirectoryTests {
    @Test func everyLengthIsInOneBinAndBinsAreInOrder() {
        var last: UInt32 = 0
        for length: UInt32 in 1...140_000 {
            let bin = bgs_bin_of(length)
            #expect(bin == last || bin == last + 1)
            #expect(bgs_bin_first(bin) <= length && length <= bgs_bin_last(bin))
            last = bin
        }
        #expect(last == UInt32(BGS_BINS) - 1)
        #expect(bgs_bin_of(.max) == last)
    }

    @Test func aBinLiesInOneClassOfTheIndex() {
        for bin in 0..<UInt32(BGS_BINS) {
            let first = bgs_bin_first(bin), end = bgs_bin_last(bin)
            #expect(bgs_class_of(first) == bgs_class_of(end))
            #expect(bgs_bin_of(first) == bin && bgs_bin_of(end) == bin)
        }
    }

    @Test func shortBinsAreOneLengthAndLongOnesNarrow() {
        for bin in 0..<UInt32(126) { #expect(bgs_bin_first(bin) == bgs_bin_last(bin)) }
        for bin in UInt32(127)..<511 {
            let first = bgs_bin_first(bin)
            #expect((bgs_bin_last(bin) - first + 1) * 64 <= first)
        }
    }
}
