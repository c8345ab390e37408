//===-- Tracing.swift - probes of the layers above that may not import the shim ------------------===//
// See Tracing.md in BlockGroups.docc for what each probe tells.

internal import CShim

/// The probe `commit`.
///
/// - Parameter result: 0 or a negative errno.
package func traceCommit(generation: UInt64, blocks: Int, bytes: Int, result: CInt) {
    bgs_probe_commit(generation, UInt64(blocks), UInt64(bytes), result)
}
