/*
 * batch - gathers what one thread sends, so that each connection is written once.
 *
 * For a loop turn that starts or answers many calls; both sides' headers include it. The library
 * itself holds a batch open while it works through one read.
 */
#ifndef FLY_RPC_BATCH_H
#define FLY_RPC_BATCH_H

/* Between begin and end this thread's frames are only queued; the outermost end writes them.
 * Nests. A thread must not wait for an answer inside a batch. */
void rpc_batch_begin(void);
void rpc_batch_end(void);

#endif
