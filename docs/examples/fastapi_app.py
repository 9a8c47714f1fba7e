"""A mixture behind a web endpoint: ``uvicorn fastapi_app:app``."""

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response

import moa_helpers as moa

MODELS, AGGREGATORS = os.environ["MODELS"].split(), os.environ["AGGREGATORS"].split()
LONGEST_WAIT = float(os.environ.get("LONGEST_WAIT", "10"))  # seconds, for a place
places = asyncio.Semaphore(int(os.environ.get("AT_ONCE", "20")))  # one a mixture


@asynccontextmanager
async def lifespan(app):
    moa.setup()  # at the start, once: finds the keys, and decides the mode
    yield
    await moa.close()  # at the end: closes the clients that all requests shared


app = FastAPI(lifespan=lifespan)


async def mixed(turns):
    async with asyncio.timeout(LONGEST_WAIT) as wait, places:
        wait.reschedule(None)  # it has a place: from here on the deadline counts
        return await moa.mixture_of_agents(turns, MODELS, AGGREGATORS, deadline=30)


@app.post("/answer")
async def answer(messages: list[dict], request: Request):
    work = asyncio.create_task(mixed(messages))
    left = asyncio.create_task(request.receive())  # comes when the client leaves
    try:
        await asyncio.wait([work, left], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return Response(status_code=499)  # nobody reads it; the calls end below
        said = work.result()
        if not said.text:
            raise HTTPException(502, said.heading)  # no answer, and why
        return {"text": said.text, "outcome": said.outcome, "heading": said.heading}
    except TimeoutError:  # no place became free
        raise HTTPException(503, "Too many requests. Try again later.") from None
    except (TypeError, ValueError) as error:  # wrong input, refused before any call
        raise HTTPException(422, str(error)) from None
    finally:
        left.cancel()
        work.cancel()  # does nothing where it has ended
