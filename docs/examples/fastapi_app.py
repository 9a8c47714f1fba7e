"""A mixture behind a web endpoint: ``uvicorn fastapi_app:app``."""

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response

import moa_helpers as moa

MODELS, AGGREGATORS = os.environ["MODELS"].split(), os.environ["AGGREGATORS"].split()
at_once = asyncio.Semaphore(int(os.environ.get("AT_ONCE", "20")))  # mixtures, over all requests


@asynccontextmanager
async def lifespan(app):
    moa.setup()  # at the start, once: finds the keys, and decides the mode
    yield
    await moa.close()  # at the end: closes the clients, one a vendor, which all requests shared


app = FastAPI(lifespan=lifespan)


async def mixed(messages):
    async with at_once:
        return await moa.mixture_of_agents(messages, MODELS, AGGREGATORS, deadline=30)


@app.post("/answer")
async def answer(messages: list[dict], request: Request):
    work = asyncio.create_task(mixed(messages))
    left = asyncio.create_task(request.receive())  # the next message: the client has left
    try:
        await asyncio.wait([work, left], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return Response(status_code=499)  # nobody reads it; the calls are cancelled below
        found = work.result()
        return {"text": found.text, "outcome": found.outcome, "heading": found.heading}
    except (TypeError, ValueError) as error:  # no prompt, or no model: refused before any call
        raise HTTPException(422, str(error)) from None
    finally:
        left.cancel()
        work.cancel()  # does nothing where it has ended
