import pg from 'pg'; import fs from 'node:fs';
const dirs=fs.readdirSync('/tmp').filter(d=>d.startsWith('millrace-product-')).map(d=>['/tmp/'+d+'/postgres/credentials.json',fs.statSync('/tmp/'+d).mtimeMs,d]).sort((a,b)=>b[1]-a[1]);
const d=dirs[0][2]; const cred=JSON.parse(fs.readFileSync(`/tmp/${d}/postgres/credentials.json`)); const run=JSON.parse(fs.readFileSync(`/tmp/${d}/running.json`));
const u=new URL(run.postgres); const c=new pg.Client({host:'127.0.0.1',port:+u.port,user:'postgres',password:cred.superuser,database:'millrace'}); await c.connect();
const m=new Map(); let n=0; const t0=Date.now();
while(Date.now()-t0<+process.argv[2]*1000){ const r=await c.query("select application_name a, coalesce(wait_event_type||':'||wait_event,'CPU') w, left(regexp_replace(query,'\\s+',' ','g'),90) q from pg_stat_activity where state='active' and pid<>pg_backend_pid()"); n++; for(const x of r.rows){const k=x.a.slice(9)+' | '+x.w+' | '+x.q; m.set(k,(m.get(k)??0)+1);} await new Promise(r=>setTimeout(r,10)); }
[...m].sort((a,b)=>b[1]-a[1]).slice(0,25).forEach(([k,v])=>console.log((v/n*100).toFixed(1)+'%',k));
await c.end();
