//===-- SortedPairs.swift - two lists of what should be the same ------------------------------------===//
// What is stored twice (names, stripes) is gathered in two arrays, sorted, and held against each other.

/// Visits the elements of two sorted arrays in their common order, those that neither comes before as a pair;
/// nil: the other array has none.
func forEachPair<Element>(
    _ one: [Element],
    _ other: [Element],
    by isBefore: (Element, Element) -> Bool,
    _ visit: (Element?, Element?) -> Void
) {
    var (left, right) = (0, 0)
    while left < one.count || right < other.count {
        if right == other.count || left < one.count && isBefore(one[left], other[right]) {
            visit(one[left], nil)
            left += 1
        } else if left == one.count || isBefore(other[right], one[left]) {
            visit(nil, other[right])
            right += 1
        } else {
            visit(one[left], other[right])
            left += 1
            right += 1
        }
    }
}
