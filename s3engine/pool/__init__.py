"""The pool: worker processes, what crosses to them, the two lanes that drive requests inside them.

::

    parent process                                     worker process x W
    Supervisor (one thread)                            worker.run
      jobs -> tasks --- chunks of task tuples ------->   Lane.submit
      jobs <- outcomes <-- chunks of outcome tuples --   Lane: loop lane (raw) or thread lane (clients that block)
      Dealer, Fleet, Deaths: deals, hands back, respawns   actions: task -> exchange or call -> outcome
                                                           Core: what follows an attempt
                                                           control: timeouts, retries, budget (shared memory)

The parent knows which tasks each worker holds; when one dies they go to the others.
"""
